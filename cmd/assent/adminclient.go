package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// adminClient talks to the service that runs on a data folder, over its socket.
type adminClient struct {
	http *http.Client
	data string
}

func newAdminClient(data string) (*adminClient, error) {
	path, err := adminSocket(data)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "unix", path)
	}
	return &adminClient{&http.Client{Transport: &http.Transport{DialContext: dial}}, data}, nil // a backup takes its time
}

// call sends one command and decodes the answer into out, which may be nil.
func (c *adminClient) call(ctx context.Context, method, path string, body, out any) error {
	resp, err := c.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the service's answer: %w", err)
	}
	return nil
}

// open is call for answers that are streams; the caller closes the body.
func (c *adminClient) open(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://assent"+path, payload)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("no service is running on %s: start it with assent serve --data %s", c.data, c.data)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the service: %w", err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		var problem adminError
		json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&problem)
		if problem.Error == "" {
			problem.Error = resp.Status
		}
		return nil, errors.New(problem.Error)
	}
	return resp, nil
}
