package bolt

// Waiting returns how many changes are queued for the next commit.
func Waiting(s *Store) int { return len(s.commit.queue) }
