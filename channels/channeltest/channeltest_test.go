package channeltest_test

import (
	"testing"

	"assent/approvals"
	"assent/channels"
	"assent/channels/channeltest"
)

// TestRecorder: the channel that everybody tests with fulfils the contract itself.
func TestRecorder(t *testing.T) {
	channeltest.Run(t, func(*testing.T) channeltest.Provider {
		r := channeltest.NewRecorder("phone")
		return channeltest.Provider{Channel: r, To: approvals.Address{Channel: "phone", Value: "secret-address"}, Set: r.Set,
			Moods: []channeltest.Mood{channeltest.Busy, channeltest.Later, channeltest.Reject, channeltest.Gone,
				channeltest.Fault, channeltest.Hang, channeltest.Break},
			Has: func(m channels.Message) (n int) {
				for _, item := range r.Items() {
					if item.Message.ID == m.ID {
						n++
					}
				}
				return n
			}}
	})
}
