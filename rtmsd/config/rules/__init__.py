"""Rules for the value of a key: each is called with it as read, and raises `Mistake` with words for a person.

They stand in `Annotated[...]` beside the type of the key they belong to; `reading.py` applies them.
"""
