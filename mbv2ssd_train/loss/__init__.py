"""What each prior should predict, and the loss of its prediction."""
