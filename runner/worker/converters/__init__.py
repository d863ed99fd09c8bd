"""The converters between forms of a model: one module each, with a class ``Converter``; see :mod:`.base`."""
