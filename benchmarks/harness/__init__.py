"""How is measured: blocks that alternate between contenders, refused where the core was shared; targets; reports."""
