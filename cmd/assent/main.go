package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // people's zones must not depend on the host

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit codes, the same for every command.
const (
	exitOK          = 0
	exitFailed      = 1 // the command could not do what it was asked
	exitUsage       = 2 // the command line or the configuration is wrong
	exitDenied      = 3 // request: the person said no
	exitExpired     = 4 // request: nobody answered in time
	exitUnreachable = 5 // request: no message got through to the person
	exitWithdrawn   = 6 // request: it was withdrawn
	exitNotAsked    = 7 // request: the person takes none of this agent now
)

// exitError carries the exit code of a command that failed in a documented way.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// streams are the command's standard files.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// understood is the part of a command line that was, as far as its commands go.
func understood(err error) string {
	words := []string{"assent"}
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		for _, step := range parse.Context.Path {
			if step.Command != nil {
				words = append(words, step.Command.Name)
			}
		}
	}
	return strings.Join(words, " ")
}

// kongExit carries kong's wish to leave, after --help, up to run.
type kongExit int

// run is the program: it parses args, runs one command and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) (code int) {
	var c cli
	parser, err := kong.New(&c, kong.Name("assent"),
		kong.Description("Human approval for software agents, over OpenID CIBA."),
		kong.UsageOnError(), kong.Writers(out, errOut), kong.Exit(func(code int) { panic(kongExit(code)) }),
		kong.Configuration(c.loadTOML), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c, streams{in, out, errOut}),
		kong.Vars{"data": defaultData})
	if err != nil {
		fmt.Fprintln(errOut, "assent:", err)
		return exitUsage
	}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case kongExit:
			code = int(p)
		default:
			panic(p)
		}
	}()
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(errOut, "assent: %v\nsee %s --help\n", err, understood(err))
		return exitUsage
	}
	if err := command.Run(); err != nil {
		fmt.Fprintln(errOut, "assent:", err)
		var known *exitError
		if errors.As(err, &known) {
			return known.code
		}
		return exitFailed
	}
	return exitOK
}
