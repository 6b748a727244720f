"""What a launcher does for the processes of a job: start them, watch them, end them together, start them again."""
