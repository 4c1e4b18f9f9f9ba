package bolt

// Waiting returns how many changes are queued for the next commit.
func Waiting(s *Store) int { return len(s.commit.queue) }

// Closing reports whether Close has begun.
func Closing(s *Store) bool {
	s.commit.mu.RLock()
	defer s.commit.mu.RUnlock()
	return s.commit.closed
}
