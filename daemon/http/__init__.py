"""The HTTP side: webhooks in, pages and answers out."""
