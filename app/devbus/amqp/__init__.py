"""The AMQP 1.0 wire: types, performatives, frames and messages (OASIS AMQP 1.0); knows no queue and no socket."""
