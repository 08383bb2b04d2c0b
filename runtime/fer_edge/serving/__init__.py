"""What the web page and /metrics share: an address to listen on, who may come in, and a server in a thread."""
