package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The version that all members share is raised, by the leader, some seconds after the last of them has started with a
// newer one. From then on an older etcd refuses to start: the trial of that last member would take its own way back.
// So the version before is noted where the cluster keeps it, the trial has etcd go down to it again, which an older
// member can then join, and lets go of it once the trial is over.

// versions is where what is held is noted, by the name of the member on trial.
const versions = "/pawl/version/"

// raiseTime is how long a leader may take until it raises the version.
const raiseTime = 10 * time.Second

// Hold notes the version that this node's member has to be able to come back with, if it is the last to leave it
// behind.
func (c *Cluster) Hold(ctx context.Context) error {
	members, err := c.members(ctx)
	if err != nil {
		return fmt.Errorf("ask etcd for its versions: %w", err)
	}
	own, err := c.version(ctx, c.config.Self)
	last := err == nil && len(members) > 1 // one whose etcd does not run has nothing to come back with
	for _, m := range members {
		if m.Name == c.config.Name || len(m.ClientURLs) == 0 {
			continue
		}
		v, err := c.version(ctx, m.ClientURLs[0])
		last = last && (err != nil || newer(v.Server, own.Server)) // one that is missing may come back newer
	}
	key := versions + c.config.Name
	return c.tried(ctx, "note the version of etcd", func(ctx context.Context) error {
		if !last {
			_, err := c.client.Delete(ctx, key)
			return err
		}
		_, err := c.client.Put(ctx, key, minor(own.Server))
		return err
	})
}

// Held has the cluster keep to the version that Hold noted, in the trial that has raised it.
func (c *Cluster) Held(ctx context.Context) error {
	was, err := c.noted(ctx)
	if err != nil || was == "" {
		return err
	}
	own, err := c.version(ctx, c.config.Self)
	if err != nil {
		return fmt.Errorf("ask this node's etcd for its version: %w", err)
	}
	if !newer(own.Server, was) {
		return nil // the trial brought no newer one
	}
	for end := time.Now().Add(raiseTime); !newer(own.Cluster, was); {
		if time.Now().After(end) {
			return nil // another member keeps it down
		}
		if own, err = c.after(ctx); err != nil {
			return err
		}
	}
	err = c.tried(ctx, "have etcd go back to version "+was, func(ctx context.Context) error {
		_, err := c.client.Downgrade(ctx, clientv3.DowngradeEnable, was+".0")
		if errors.Is(err, rpctypes.ErrDowngradeInProcess) {
			return nil
		}
		return err
	})
	for err == nil && newer(own.Cluster, was) {
		own, err = c.after(ctx)
	}
	if err != nil {
		return fmt.Errorf("the version before could not start again: %w", err)
	}
	return nil
}

// after is this node's version after a pause.
func (c *Cluster) after(ctx context.Context) (told, error) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return told{}, ctx.Err()
	}
	return c.version(ctx, c.config.Self)
}

// LetGo lets the cluster raise its version, if it was held by this node's trial.
func (c *Cluster) LetGo(ctx context.Context) error {
	was, err := c.noted(ctx)
	if err != nil || was == "" {
		return err
	}
	return c.tried(ctx, "let etcd raise its version", func(ctx context.Context) error {
		_, err := c.client.Downgrade(ctx, clientv3.DowngradeCancel, "")
		if err != nil && !errors.Is(err, rpctypes.ErrNoInflightDowngrade) {
			return err
		}
		_, err = c.client.Delete(ctx, versions+c.config.Name)
		return err
	})
}

// noted is the version that Hold noted; empty: none.
func (c *Cluster) noted(ctx context.Context) (was string, err error) {
	err = c.tried(ctx, "ask etcd for the version that is held", func(ctx context.Context) error {
		r, err := c.client.Get(ctx, versions+c.config.Name)
		if err == nil && len(r.Kvs) == 1 {
			was = minor(string(r.Kvs[0].Value))
		}
		return err
	})
	return was, err
}

// told is what a member tells of versions.
type told struct {
	Server  string `json:"etcdserver"`
	Cluster string `json:"etcdcluster"`
}

// maxVersion bounds that answer, in bytes.
const maxVersion = 4096

func (c *Cluster) version(ctx context.Context, url string) (v told, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Try)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/version", nil)
	if err != nil {
		return v, err
	}
	transport := &http.Transport{TLSClientConfig: c.config.TLS, DisableKeepAlives: true}
	r, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return v, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return v, fmt.Errorf("%s answers %s", url, r.Status)
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxVersion)).Decode(&v); err != nil {
		return v, err
	}
	if minor(v.Server) == "" {
		return v, fmt.Errorf("%s tells no version: %.50q", url, v.Server)
	}
	return v, nil
}

// minor is MAJOR.MINOR of a version; empty: it is none.
func minor(version string) string {
	var a, b uint
	if n, _ := fmt.Sscanf(version, "%d.%d", &a, &b); n != 2 {
		return ""
	}
	return fmt.Sprintf("%d.%d", a, b)
}

// newer reports whether a has a higher minor version than b.
func newer(a, b string) bool {
	var a1, a2, b1, b2 uint
	if n, _ := fmt.Sscanf(a, "%d.%d", &a1, &a2); n != 2 {
		return false
	}
	if n, _ := fmt.Sscanf(b, "%d.%d", &b1, &b2); n != 2 {
		return false
	}
	return a1 > b1 || a1 == b1 && a2 > b2
}
