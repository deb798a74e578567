"""What stands before the application: who may ask, how often, from which web pages.

`docs/security.md` has the model behind it.
"""
