package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// browser is a person's browser as far as forms and links go: cookies, redirects, same-origin headers. The demo and the
// tests press the real buttons with it.
type browser struct {
	http *http.Client
	page *htmlPage
}

// htmlPage is what the browser shows.
type htmlPage struct {
	url    *url.URL
	status int
	root   *html.Node
}

func newBrowser() *browser {
	jar, _ := cookiejar.New(nil) // never fails without options
	return &browser{http: &http.Client{Jar: jar, Timeout: 30 * time.Second}}
}

// open follows a link.
func (b *browser) open(ctx context.Context, link string) error {
	target, err := b.resolve(link)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, "GET", target.String(), nil)
	if err != nil {
		return err
	}
	return b.do(req)
}

func (b *browser) resolve(link string) (*url.URL, error) {
	u, err := url.Parse(link)
	if err != nil {
		return nil, fmt.Errorf("open page: %w", err)
	}
	if b.page != nil {
		u = b.page.url.ResolveReference(u)
	}
	return u, nil
}

func (b *browser) do(req *http.Request) error {
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Accept-Language", "en")
	resp, err := b.http.Do(req)
	if err != nil {
		return fmt.Errorf("open page: %w", err)
	}
	defer resp.Body.Close()
	root, err := html.Parse(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read page: %w", err)
	}
	b.page = &htmlPage{resp.Request.URL, resp.StatusCode, root}
	return nil
}

// press submits the form whose action has part in its path, with what the page put into it and the given values on
// top.
func (b *browser) press(ctx context.Context, part string, values map[string]string) error {
	req, err := b.fill(ctx, part, values)
	if err != nil {
		return err
	}
	return b.do(req)
}

// fill makes the request that press sends.
func (b *browser) fill(ctx context.Context, part string, values map[string]string) (*http.Request, error) {
	form := findNode(b.page.root, func(n *html.Node) bool {
		return n.Data == "form" && strings.EqualFold(attr(n, "method"), "post") && strings.Contains(pathOf(attr(n, "action"), b.page.url), part)
	})
	if form == nil {
		return nil, fmt.Errorf("the page %q has no form for %s", b.page.title(), part)
	}
	fields := url.Values{}
	walk(form, func(n *html.Node) {
		if name := attr(n, "name"); name != "" && (n.Data == "input" || n.Data == "textarea") && attr(n, "type") != "submit" {
			fields.Set(name, attr(n, "value"))
		}
	})
	for name, value := range values {
		fields.Set(name, value)
	}
	target, err := b.resolve(attr(form, "action"))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", target.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", target.Scheme+"://"+target.Host)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return req, nil
}

func pathOf(action string, base *url.URL) string {
	u, err := url.Parse(action)
	if err != nil {
		return ""
	}
	return base.ResolveReference(u).Path
}

// link returns the address of the first link that accept likes.
func (p *htmlPage) link(accept func(href string) bool) (string, error) {
	n := findNode(p.root, func(n *html.Node) bool { return n.Data == "a" && accept(attr(n, "href")) })
	if n == nil {
		return "", errors.New("no such link on the page")
	}
	return attr(n, "href"), nil
}

// text returns the text of the element with an id.
func (p *htmlPage) text(id string) string {
	n := findNode(p.root, func(n *html.Node) bool { return attr(n, "id") == id })
	if n == nil {
		return ""
	}
	return textOf(n)
}

func (p *htmlPage) title() string {
	if n := findNode(p.root, func(n *html.Node) bool { return n.Data == "title" }); n != nil {
		return strings.TrimSpace(textOf(n))
	}
	return ""
}

// visible returns everything a reader of the page can read, white space folded.
func (p *htmlPage) visible() string {
	return strings.Join(strings.Fields(textOf(findNode(p.root, func(n *html.Node) bool { return n.Data == "body" }))), " ")
}

func findNode(n *html.Node, accept func(*html.Node) bool) *html.Node {
	if n.Type == html.ElementNode && accept(n) {
		return n
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if found := findNode(c, accept); found != nil {
			return found
		}
	}
	return nil
}

func walk(n *html.Node, visit func(*html.Node)) {
	if n.Type == html.ElementNode {
		visit(n)
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		walk(c, visit)
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(n *html.Node) string {
	var b strings.Builder
	var visit func(*html.Node)
	visit = func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
		if n.Data == "script" || n.Data == "style" {
			return
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			visit(c)
		}
	}
	visit(n)
	return b.String()
}
