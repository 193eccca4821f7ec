"""The version of the whole house: one wheel, one number."""

__version__ = "0.1.0"
