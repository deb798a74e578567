"""The queue front: messages with pictures in, messages with answers out. The only room that sees Azure."""
