package approvals

import (
	"encoding/json"
	"fmt"
	"time"
)

// StepCode is the step by which a page asks the channels to bring a one-time code to a person.
const StepCode = "code"

// Code is a one-time code on its way. The six digits are derived from ID by whoever sends and by whoever checks, so they
// lie in no store and on no bus.
type Code struct {
	ID      string    `json:"id"` // random, one for each code
	Person  PersonID  `json:"person"`
	Locale  string    `json:"locale"`
	Expires time.Time `json:"expires"`
}

// Step is due at once and carries the code's id, never its digits. Write it, then signal [TopicDue].
func (c Code) Step(at time.Time) Step {
	data, _ := json.Marshal(c) // plain strings and a time: cannot fail
	return Step{Name: StepCode, At: at, Of: c.ID, Data: string(data)}
}

// CodeOf reads the code that a [StepCode] step is about.
func CodeOf(s Step) (Code, error) {
	var c Code
	if err := json.Unmarshal([]byte(s.Data), &c); err != nil {
		return c, fmt.Errorf("read code step: %w", ErrDrop)
	}
	return c, nil
}
