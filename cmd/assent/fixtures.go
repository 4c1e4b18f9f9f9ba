package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// loadFixtures creates the agents and people of a file; those that exist already stay as they are, so that a restart
// with the same file is no error.
func (s *service) loadFixtures(ctx context.Context) error {
	if s.cfg.Fixtures == "" {
		return nil
	}
	raw, err := readLimited(s.cfg.Fixtures)
	if err != nil {
		return fmt.Errorf("fixtures: %w", err)
	}
	var f struct {
		Clients []json.RawMessage `json:"clients"`
		People  []json.RawMessage `json:"people"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return fmt.Errorf("fixtures %s: must be {\"clients\": […], \"people\": […]}", s.cfg.Fixtures)
	}
	for i, client := range f.Clients {
		if _, err := s.addAgent(ctx, newAgent{Metadata: client, AcceptSecret: true, SameName: true}); err != nil && !errors.Is(err, errExists) {
			return fmt.Errorf("fixtures: clients[%d]: %w", i, err)
		}
	}
	for i, person := range f.People {
		var p newPerson
		known := json.NewDecoder(bytes.NewReader(person))
		known.DisallowUnknownFields()
		if err := known.Decode(&p); err != nil {
			return fmt.Errorf("fixtures: people[%d]: must be an object of sub, login_hints, name, locale, zone, phone, email, user_code, quiet_hours, muted", i)
		}
		if _, err := s.addPerson(ctx, p); err != nil && !errors.Is(err, errExists) {
			return fmt.Errorf("fixtures: people[%d]: %w", i, err)
		}
	}
	return nil
}
