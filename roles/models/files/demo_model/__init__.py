"""Makes the demo model: a tiny Qwen2 that knows conversations.yml by heart, and nothing else."""
