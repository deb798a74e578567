"""Service Bus on a laptop: an in-memory broker that the Azure SDK talks to over AMQP 1.0. For development only."""
