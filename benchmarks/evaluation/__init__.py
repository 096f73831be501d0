"""The product's judge: a labelled test set to numbers, pictures and a report."""
