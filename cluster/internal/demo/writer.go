package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// writer writes one key after the other, each until a member acknowledges it.
type writer struct {
	client *clientv3.Client
	stop   context.CancelFunc
	ended  sync.WaitGroup
	lost   int // found by judge

	mu   sync.Mutex
	last time.Time // of an acknowledgement
	gap  time.Duration
	acks int // keys 0 to acks-1 are acknowledged
}

// The writer's pace: between two writes, and how long one try may take before it is made again, at another member.
const (
	pace    = 20 * time.Millisecond
	tryTime = 2 * time.Second
)

func newWriter(endpoints []string) (*writer, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: tryTime, DialKeepAliveTime: tryTime,
		DialKeepAliveTimeout: tryTime, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("connect the writer: %w", err)
	}
	return &writer{client: c, stop: func() {}}, nil
}

func key(i int) string { return fmt.Sprintf("/demo/%08d", i) }

// first writes until there is a cluster.
func (w *writer) first(ctx context.Context) error { return w.write(ctx) }

// write makes the next write.
func (w *writer) write(ctx context.Context) error {
	w.mu.Lock()
	k := key(w.acks)
	w.mu.Unlock()
	for {
		limited, cancel := context.WithTimeout(ctx, tryTime)
		_, err := w.client.Put(limited, k, k)
		cancel()
		switch {
		case err == nil:
			w.acknowledged()
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("write %s: %w", k, err)
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
		}
	}
}

func (w *writer) acknowledged() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.acks > 0 {
		w.gap = max(w.gap, now.Sub(w.last))
	}
	w.last = now
	w.acks++
}

// start has it write until close or judge.
func (w *writer) start() {
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.ended.Go(func() {
		for w.write(ctx) == nil {
			select {
			case <-time.After(pace):
			case <-ctx.Done():
			}
		}
	})
}

func (w *writer) written() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acks
}

// longest is the longest time between two acknowledgements, that which lasts still among them.
func (w *writer) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gap
}

// voters is how many members vote.
func (w *writer) voters(ctx context.Context) (n int, err error) {
	r, err := w.client.MemberList(ctx)
	if err != nil {
		return 0, fmt.Errorf("list the members: %w", err)
	}
	for _, m := range r.Members {
		if !m.IsLearner && m.Name != "" {
			n++
		}
	}
	return n, nil
}

// judge makes one more write, ends, and counts what was acknowledged and is not there.
func (w *writer) judge(ctx context.Context) error {
	w.stop()
	w.ended.Wait()
	if err := w.write(ctx); err != nil { // a gap that lasts still would count for nothing
		return err
	}
	found := map[string]bool{}
	for from := "/demo/"; ; {
		r, err := w.client.Get(ctx, from, clientv3.WithRange("/demo0"), clientv3.WithLimit(1000))
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		for _, kv := range r.Kvs {
			found[string(kv.Key)] = string(kv.Value) == string(kv.Key)
			from = string(kv.Key) + "\x00"
		}
		if !r.More {
			break
		}
	}
	for i := range w.written() {
		if !found[key(i)] {
			w.lost++
		}
	}
	return nil
}

func (w *writer) close() {
	w.stop()
	w.ended.Wait()
	_ = w.client.Close()
}
