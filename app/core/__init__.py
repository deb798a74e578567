"""The service itself: admission, batching, execution. Knows neither HTTP nor Service Bus."""
