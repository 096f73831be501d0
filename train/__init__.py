"""Learning a product from good images: data, teacher, students, and the bundle that they leave."""
