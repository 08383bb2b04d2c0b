"""Server shared by the web page and /metrics: an address to listen on, who may come in, and a server in a thread."""
