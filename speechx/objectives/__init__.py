"""What is learned: masking, the contrastive loss, CTC. All give sums over targets."""
