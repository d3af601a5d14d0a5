package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guanlan-io/guanlan/examples/woven/shop/goods"
	"github.com/guanlan-io/guanlan/sdk"
)

const (
	burstFactor = 5
	burstLength = 5 * time.Second
	// maxInFlight keeps a shop that hangs from filling this process with
	// requests; what exceeds it is not sent, and counted.
	maxInFlight = 256
)

// load drives the shop like its customers do. It is no part of the shop and
// sends no telemetry: traces begin at the gateway.
type load struct {
	base   string
	client http.Client
	last   atomic.Value // string: id of the latest order

	mu     sync.Mutex
	counts map[string]int // answers by status since the last report
}

// visit is one kind of request; weight is how many there are in a deck.
type visit struct {
	weight int
	send   func(*load, context.Context, customer)
}

// customer is who sends a request.
type customer struct{ tenant, channel, city string }

// deck is what customers do. Requests are drawn from a shuffled deck rather
// than at random, so that every few seconds see each kind.
var deck = []visit{
	{110, func(l *load, ctx context.Context, c customer) { l.get(ctx, c, "/api/products/"+anySKU()) }},
	{24, func(l *load, ctx context.Context, c customer) { l.get(ctx, c, "/api/products?q="+anyWord()) }},
	{3, func(l *load, ctx context.Context, c customer) { l.get(ctx, c, "/api/products?sort=sales&q="+anyWord()) }},
	{8, func(l *load, ctx context.Context, c customer) {
		l.get(ctx, c, "/api/products/"+anySKU()+"/price?coupon=SALE20")
	}},
	{1, func(l *load, ctx context.Context, c customer) {
		l.get(ctx, c, "/api/products/"+anySKU()+"/price?coupon=VIP")
	}}, // panics
	{1, func(l *load, ctx context.Context, c customer) { l.get(ctx, c, "/api/products/tea-unknown") }},
	{6, func(l *load, ctx context.Context, c customer) { l.get(ctx, c, "/api/orders/"+l.last.Load().(string)) }},
	{42, func(l *load, ctx context.Context, c customer) { l.order(ctx, c, anySKU(), "card-visa") }},
	{2, func(l *load, ctx context.Context, c customer) { l.order(ctx, c, goods.SoldOut, "card-visa") }},
	{1, func(l *load, ctx context.Context, c customer) { l.order(ctx, c, anySKU(), cardDeclined) }},
	{2, func(l *load, ctx context.Context, c customer) { // one sales channel has the slow bank
		c.channel = "wechat"
		l.order(ctx, c, anySKU(), cardSlow)
	}},
}

func runLoad(ctx context.Context, c config) error {
	return sdk.Run(ctx, sdk.Worker("customers", func(ctx context.Context) error { return visits(ctx, c) }))
}

// visits sends requests until ctx ends.
func visits(ctx context.Context, c config) error {
	l := &load{
		base:   "http://" + c.gateway,
		client: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		counts: map[string]int{},
	}
	l.last.Store("ord-none")

	var cards []visit
	for _, v := range deck {
		for range v.weight {
			cards = append(cards, v)
		}
	}
	report := time.NewTicker(10 * time.Second)
	defer report.Stop()
	slots := make(chan struct{}, maxInFlight)
	start := time.Now()
	slog.Info("sending", "to", l.base, "rate", c.rate)
	for n := 0; ; n++ {
		if n%len(cards) == 0 {
			rand.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
		}
		rate := c.rate
		if c.burst > 0 && time.Since(start) > c.burst && time.Since(start)%c.burst < burstLength {
			rate *= burstFactor
		}
		select {
		case <-ctx.Done():
			return nil
		case <-report.C:
			l.report()
		case <-time.After(time.Duration(float64(time.Second) / rate)):
		}
		select {
		case slots <- struct{}{}:
			send := cards[n%len(cards)].send
			go func() {
				defer func() { <-slots }()
				send(l, ctx, anyCustomer())
			}()
		default:
			l.count("not sent")
		}
	}
}

func (l *load) get(ctx context.Context, c customer, path string) {
	l.send(ctx, c, "GET", path, nil)
}

func (l *load) order(ctx context.Context, c customer, sku, card string) {
	body, err := json.Marshal(map[string]any{"sku": sku, "quantity": 1 + rand.N(3), "city": c.city, "card": card})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	var order struct {
		ID string `json:"id"`
	}
	if answer := l.send(ctx, c, "POST", "/api/orders", body); json.Unmarshal(answer, &order) == nil && order.ID != "" {
		l.last.Store(order.ID)
	}
}

// send returns the body of the answer; nil when there was none.
func (l *load) send(ctx context.Context, c customer, method, path string, body []byte) []byte {
	req, err := http.NewRequestWithContext(ctx, method, l.base+path, bytes.NewReader(body))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	req.Header.Set("X-Tenant", c.tenant)
	req.Header.Set("X-Channel", c.channel)
	resp, err := l.client.Do(req)
	if err != nil {
		l.count("no answer")
		return nil
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	l.count(strconv.Itoa(resp.StatusCode))
	return answer
}

func (l *load) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
}

func (l *load) report() {
	l.mu.Lock()
	defer l.mu.Unlock()
	slog.Info("answers in the last 10 s", "by status", l.counts)
	l.counts = map[string]int{}
}

func anyCustomer() customer {
	return customer{
		tenant:  pick("acme", "acme", "acme", "northwind", "northwind", "yunshan"),
		channel: pick("web", "web", "app", "app", "wechat"),
		city:    pick("上海", "深圳", "杭州", "Berlin", "São Paulo", "Singapore"),
	}
}

func anySKU() string {
	for {
		if sku := pick(goods.Catalogue()...).SKU; sku != goods.SoldOut {
			return sku
		}
	}
}

func anyWord() string { return url.QueryEscape(pick("tea", "茶", "lamp", "壶", "kettle")) }

func pick[T any](from ...T) T { return from[rand.N(len(from))] }
