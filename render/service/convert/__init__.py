"""Between the wire's messages and the domain's values, in both directions, and nowhere else.

What comes from the wire is checked here as far as the domain types can't: fields that are absent, enums that are
unspecified or unknown, oneofs without a choice. The rest is left to the types, which name field and value.
"""
