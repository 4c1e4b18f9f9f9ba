package channels

import "sync"

// memory remembers what costs something to work out, up to a limit. Its zero value is ready.
type memory[K comparable, V any] struct {
	mu    sync.Mutex
	known map[K]V
}

// mostKnown is how many values one memory holds: as many as there are requests that wait in a busy service.
const mostKnown = 16_384

func (m *memory[K, V]) of(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, found := m.known[key]
	return v, found
}

// keep makes room by forgetting any one value: what is still needed is worked out again.
func (m *memory[K, V]) keep(key K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[K]V{}
	}
	if _, there := m.known[key]; !there && len(m.known) >= mostKnown {
		for victim := range m.known {
			delete(m.known, victim)
			break
		}
	}
	m.known[key] = v
}

func (m *memory[K, V]) forget(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, key)
}
