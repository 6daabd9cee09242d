"""What operators may ask of a running agent, over MQTT or on the computer itself."""
