"""Which sampler makes training faster, and does it still do so when labels lie or inputs are attacked?"""

__version__ = "0.1.0"
