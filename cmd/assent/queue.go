package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

type queueCmd struct {
	List   queueListCmd   `cmd:"" help:"List requests, newest first, and what each waits for."`
	Show   queueShowCmd   `cmd:"" help:"Show one request: its timeline, what happens next, and why nothing does."`
	Resend queueResendCmd `cmd:"" help:"Tell the person once more; quiet hours and limits hold all the same."`
	Cancel queueCancelCmd `cmd:"" help:"Withdraw a request that the agent has not collected."`
}

type queueListCmd struct {
	adminFlags
	State  []string `default:"open" enum:"open,all,pending,approved,denied,expired,cancelled,failed,redeemed" help:"In which state: open (pending and approved), all, or a state; separate several by commas."`
	Agent  string   `placeholder:"CLIENT_ID" help:"Of one agent."`
	Person string   `placeholder:"SUB" help:"For one person."`
	Stuck  bool     `help:"Only what waits although nobody has been told, or the agent has not taken the result."`
	Before string   `placeholder:"REQUEST" help:"The next page: what is older than this request."`
	Limit  int      `default:"50" placeholder:"N" help:"How many, up to 1000."`
}

// query is the command line as the administration API takes it.
func (c *queueListCmd) query() url.Values {
	q := url.Values{"state": c.State, "limit": {strconv.Itoa(c.Limit)}}
	for name, value := range map[string]string{"agent": c.Agent, "person": c.Person, "before": c.Before} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if c.Stuck {
		q.Set("stuck", "true")
	}
	return q
}

// Run prints one page.
func (c *queueListCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var page queuePage
	if err := api.call(ctx, "GET", "/queue?"+c.query().Encode(), nil, &page); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(page)
	}
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "REQUEST\tREF\tSTATE\tAGENT\tPERSON\tASKED\tENDS\tSTUCK\tNOW")
	for _, r := range page.Requests {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Request, r.Ref, r.State, r.Agent, r.Person,
			second(r.CreatedAt), second(r.ExpiresAt), yes(r.Now.Stuck), r.Now.Words)
	}
	if err := w.Flush(); err != nil || page.Next == "" {
		return err
	}
	_, err = fmt.Fprintf(s.out, "\nMore: --before %s\n", page.Next)
	return err
}

// second is a time as the commands print it.
func second(t time.Time) string { return t.UTC().Format(time.RFC3339) }

type queueShowCmd struct {
	adminFlags
	Request string `arg:"" help:"Which request: its id, or its short name such as KT-42 if that is of a recent one."`
}

// Run prints one request.
func (c *queueShowCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var r queueStory
	if err := api.call(ctx, "GET", "/queue/"+url.PathEscape(c.Request), nil, &r); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(r)
	}
	return r.print(s.out)
}

type queueResendCmd struct {
	adminFlags
	Request string `arg:"" help:"Which request, as for show."`
}

// Run has the person told once more, and prints what will happen.
func (c *queueResendCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	var now standing
	if err := api.call(ctx, "POST", "/queue/"+url.PathEscape(c.Request)+"/resend", nil, &now); err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(now)
	}
	_, err = fmt.Fprintln(s.out, "noted:", now.Words)
	return err
}

type queueCancelCmd struct {
	adminFlags
	Request string `arg:"" help:"Which request, as for show."`
	Reason  string `placeholder:"TEXT" help:"Why, for other operators; person and agent do not see it."`
}

// Run withdraws one request.
func (c *queueCancelCmd) Run(ctx context.Context, s streams) error {
	return c.send(ctx, s, "/queue/"+url.PathEscape(c.Request)+"/cancel", withdrawal{c.Reason}, "withdrawn")
}

// print shows what a request is about, where it stands, and its timeline.
func (r queueStory) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, line := range [][2]string{
		{"request", string(r.Request) + " (" + r.Ref + ")"},
		{"state", string(r.State)},
		{"agent", r.AgentName + " (" + string(r.Agent) + ")"},
		{"person", string(r.Person)},
		{"asks", r.Asks},
		{"types", strings.Join(r.Types, ", ")},
		{"needs", r.Needs},
		{"asked", second(r.CreatedAt)},
		{"decide by", second(r.DecideBy)},
		{"ends", second(r.ExpiresAt)},
		{"digest", r.Digest},
		{"now", r.Now.Words},
		{"stuck", yes(r.Now.Stuck)},
		{"proof", r.proof()},
		{"remark", r.Remark},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", line[0]+":", line[1])
		}
	}
	fmt.Fprintln(w, "\nTIME\tAFTER\tBY\tWHAT")
	for _, e := range r.Timeline {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.At.UTC().Format("2006-01-02T15:04:05.000Z"), after(e.At.Sub(r.CreatedAt)), e.by(), e.Words)
	}
	return w.Flush()
}

// proof says whether the passkey's signature holds; "" when none was given.
func (r queueStory) proof() string {
	said := ""
	for _, d := range r.Decisions {
		switch {
		case d.Proven == nil:
		case !*d.Proven:
			return "passkey evidence does not verify"
		case d.Pages != "":
			said = "passkey evidence verified, signed on " + d.Pages
		default:
			said = "passkey evidence verified"
		}
	}
	return said
}

// by names the actor of a line.
func (e timelineRow) by() string {
	if e.By.ID == "" {
		return e.By.Kind
	}
	return e.By.Kind + " " + e.By.ID
}

// after is how long after the question something happened, as exactly as its size is worth.
func after(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()
}
