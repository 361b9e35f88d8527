"""fraudloop: exact point-in-time features, models as data and payment-fraud decisions from one fold over one log.

Importing the package has no effect and loads no library; import from the module that defines a name.
"""
