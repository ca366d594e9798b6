"""What is asked of arguments, said in one way everywhere."""
