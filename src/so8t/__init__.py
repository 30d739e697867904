"""SO8T A/B: is the model you made better than the one you made it from?"""

__version__ = "0.1.0"
