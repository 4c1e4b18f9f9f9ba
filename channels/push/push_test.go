package push_test

import (
	"testing"
	"time"

	"assent/channels/channeltest"
	"assent/channels/push/fcmsim"
)

// TestContract: the channel is one like all others.
func TestContract(t *testing.T) {
	moods := map[channeltest.Mood]fcmsim.Behaviour{
		channeltest.Accept: {},
		channeltest.Busy:   {Status: 503, Code: "UNAVAILABLE"},
		channeltest.Later:  {Status: 429, Code: "QUOTA_EXCEEDED", After: int(channeltest.LaterBy / time.Second)},
		channeltest.Reject: {Status: 400, Code: "INVALID_ARGUMENT", Field: "message.android"},
		channeltest.Fault:  {Status: 401, Code: "THIRD_PARTY_AUTH_ERROR"},
		channeltest.Hang:   {Hang: true},
		channeltest.Break:  {Break: true},
		channeltest.Gone:   {Status: 404, Code: "UNREGISTERED"},
	}
	channeltest.Run(t, func(t *testing.T) channeltest.Provider {
		h := newHouse(t)
		p := channeltest.Provider{Channel: h.Channel, To: h.enrolled(t, "ann", canary+"contract"), Has: h.count,
			Set: func(m channeltest.Mood) { h.fcm.Behave(moods[m]) }}
		for mood := range moods {
			if mood != channeltest.Gone { // the device would be forgotten for the moods after it
				p.Moods = append(p.Moods, mood)
			}
		}
		p.Moods = append(p.Moods, channeltest.Gone)
		return p
	})
}
