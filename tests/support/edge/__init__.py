"""An emulator of ngrok's service: real agents connect to it, visitors reach them through it."""
