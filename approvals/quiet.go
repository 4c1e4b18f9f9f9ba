package approvals

import "time"

// QuietHours are the hours of the day in which a person does not want to be told, on the clock of the person's zone. From
// after To spans midnight; the zero value means never.
type QuietHours struct {
	From string `json:"from"` // "22:00"
	To   string `json:"to"`   // "07:00", which is not quiet any more
}

// Until returns the end of the quiet hours that at lies in, and the zero time when it lies in none. zone is an IANA name;
// one that is unknown counts as UTC.
func (q QuietHours) Until(at time.Time, zone string) time.Time {
	from, to, ok := q.minutes()
	if !ok {
		return time.Time{}
	}
	where, err := time.LoadLocation(zone)
	if err != nil {
		where = time.UTC
	}
	wall := at.In(where)
	minute := wall.Hour()*60 + wall.Minute()
	late := from > to && minute >= from // the end is tomorrow
	if !late && (minute >= to || from < to && minute < from) {
		return time.Time{}
	}
	day := wall.Day()
	if late {
		day++
	}
	end := time.Date(wall.Year(), wall.Month(), day, to/60, to%60, 0, 0, where)
	if !end.After(at) { // the clock has been set back over To, and shows it for the second time
		end = end.Add(time.Hour)
	}
	return end
}

// minutes returns both ends in minutes of the day.
func (q QuietHours) minutes() (from, to int, ok bool) {
	from, okFrom := minuteOf(q.From)
	to, okTo := minuteOf(q.To)
	return from, to, okFrom && okTo && from != to
}

func minuteOf(text string) (int, bool) {
	at, err := time.Parse("15:04", text)
	return at.Hour()*60 + at.Minute(), err == nil && len(text) == len("15:04")
}

// validate refuses hours that would never or always be quiet.
func (q QuietHours) validate() error {
	if q == (QuietHours{}) {
		return nil
	}
	if _, _, ok := q.minutes(); !ok {
		return invalid("quiet_hours", "must be two different times of the day such as 22:00 and 07:00")
	}
	return nil
}
