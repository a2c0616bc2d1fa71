"""What tests share; found as `helpers` from any of them."""
