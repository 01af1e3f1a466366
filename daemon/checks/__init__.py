"""What `labeltrail doctor` looks at: this machine, each server, the way back, each dataset."""
