"""What people and servers say of a product's images: kept, reviewed, and learned from."""
