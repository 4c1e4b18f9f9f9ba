package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// wire is one keep-alive connection of the load generator. It writes requests that were built beforehand and reads
// answers with as little work as correctness allows: generator and service share the machine.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
	body []byte // of the last answer; reused by the next one
}

// wireTime is how long a connection of the load generator may live.
const wireTime = 15 * time.Minute

func dialWire(ctx context.Context, addr string) (*wire, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := conn.SetDeadline(time.Now().Add(wireTime)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &wire{conn: conn, r: bufio.NewReaderSize(conn, 8<<10)}, nil
}

// do sends one request and reads its answer. The body is good until the next call.
func (w *wire) do(request []byte) (status int, body []byte, err error) {
	if _, err := w.conn.Write(request); err != nil {
		return 0, nil, fmt.Errorf("send: %w", err)
	}
	if status, err = w.readStatus(); err != nil {
		return 0, nil, err
	}
	length, chunked, err := w.readHeader()
	if err != nil {
		return 0, nil, err
	}
	w.body = w.body[:0]
	switch {
	case chunked:
		err = w.readChunks()
	case length > 0:
		err = w.readBody(length)
	}
	return status, w.body, err
}

var errAnswer = errors.New("the answer is not HTTP/1.1")

// readStatus reads a status line (RFC 9112 section 4).
func (w *wire) readStatus() (int, error) {
	line, err := w.line()
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, errAnswer
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, errAnswer
	}
	return status, nil
}

// readHeader reads the fields and returns how the body is framed.
func (w *wire) readHeader() (length int, chunked bool, err error) {
	for {
		line, err := w.line()
		if err != nil || len(line) == 0 {
			return length, chunked, err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.TrimSpace(value); {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxFile {
				return 0, false, errAnswer
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
}

func (w *wire) readBody(n int) error {
	old := len(w.body)
	w.body = slices.Grow(w.body, n)[:old+n]
	_, err := io.ReadFull(w.r, w.body[old:])
	return err
}

// readChunks reads a chunked body without trailers (RFC 9112 section 7.1).
func (w *wire) readChunks() error {
	for {
		line, err := w.line()
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(line), 16, 20)
		if err != nil {
			return errAnswer
		}
		if err := w.readBody(int(n)); err != nil {
			return err
		}
		if _, err := w.line(); err != nil || n == 0 {
			return err
		}
	}
}

func (w *wire) line() ([]byte, error) {
	line, err := w.r.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// load is work for many connections: request makes the bytes of number i, and check says what its answer was.
type load struct {
	addr    string
	conns   int
	most    int           // requests; 0: as many as fit into the time
	time    time.Duration // 0: until most are done
	request func(i int) []byte
	check   func(i, status int, body []byte) (code string, err error)
}

// loaded is what came of it.
type loaded struct {
	took    time.Duration
	each    []time.Duration // sorted
	codes   map[string]int
	errors  int
	problem error // the first error
}

// run does the work. Faults of single answers are counted; only a cancelled ctx ends it early.
func (l load) run(ctx context.Context) (loaded, error) {
	wires, err := l.dial(ctx)
	defer func() {
		for _, w := range wires {
			w.conn.Close()
		}
	}()
	if err != nil {
		return loaded{}, err
	}
	stop := context.AfterFunc(ctx, func() {
		for _, w := range wires {
			w.conn.SetDeadline(time.Now())
		}
	})
	defer stop()
	var next atomic.Int64
	parts := make([]loaded, len(wires))
	var running sync.WaitGroup
	began := time.Now()
	for i, w := range wires {
		running.Go(func() { parts[i] = l.work(w, began, &next) })
	}
	running.Wait()
	all := loaded{took: time.Since(began), codes: map[string]int{}}
	for _, p := range parts {
		all.add(p)
	}
	slices.Sort(all.each)
	return all, ctx.Err()
}

func (l load) dial(ctx context.Context) (wires []*wire, err error) {
	for range l.conns {
		w, err := dialWire(ctx, l.addr)
		if err != nil {
			return wires, err
		}
		wires = append(wires, w)
	}
	return wires, nil
}

// work is one connection's share.
func (l load) work(w *wire, began time.Time, next *atomic.Int64) loaded {
	out := loaded{codes: map[string]int{}}
	for sent := began; l.time == 0 || sent.Sub(began) < l.time; {
		i := int(next.Add(1)) - 1
		if l.most > 0 && i >= l.most {
			break
		}
		request := l.request(i)
		sent = time.Now()
		status, body, err := w.do(request)
		if err != nil {
			out.fault(err)
			break // the connection is of no more use
		}
		out.each = append(out.each, time.Since(sent))
		code, err := l.check(i, status, body)
		if err != nil {
			out.fault(err)
			continue
		}
		out.codes[code]++
	}
	return out
}

func (o *loaded) fault(err error) {
	o.errors++
	if o.problem == nil {
		o.problem = err
	}
}

func (o *loaded) add(p loaded) {
	o.each = append(o.each, p.each...)
	o.errors += p.errors
	if o.problem == nil {
		o.problem = p.problem
	}
	for code, n := range p.codes {
		o.codes[code] += n
	}
}

// at returns the latency that a share of all answers stayed under.
func at(each []time.Duration, share float64) time.Duration {
	if len(each) == 0 {
		return 0
	}
	return each[min(len(each)-1, int(share*float64(len(each))))]
}
