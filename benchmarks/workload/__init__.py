"""What benchmarks send: models, products, images and questions."""
