"""What a way of masking is worth against somebody who wants to know whose face it was."""
