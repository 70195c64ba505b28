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

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/pawl-os/pawl/cluster/quorum"
)

// The version that all members share is raised, by the leader, some seconds after the last of them has started with a
// newer one. From then on an older etcd refuses to start: the trial of that last member would take its own way back.
// So the version before is noted where the cluster keeps it, the trial has etcd go down to it again, which an older
// member can then join, and lets go of it once the trial is over.

// versions is where what is held is noted, by the name of the member on trial.
const versions = "/pawl/version/"

// raiseTime is how long a leader may take until it raises the version.
const raiseTime = 10 * time.Second

// Foresee says what an upgrade of this node may do to the version that all share; empty: nothing.
func (c *Cluster) Foresee(ctx context.Context) (warning string, err error) {
	members, err := c.members(ctx)
	if err != nil {
		return "", fmt.Errorf("ask etcd for its versions: %w", err)
	}
	was, unknown := c.lastAt(ctx, members)
	switch {
	case unknown != nil:
		return fmt.Sprintf("It is not known whether the other members of etcd run a newer one than this node (%v). If "+
			"all of them do, its etcd of now may not start any more once they have raised the version that all share.",
			unknown), nil
	case was == "":
		return "", nil
	}
	return fmt.Sprintf("This is the last member that runs etcd %s. Once it is away, or newer, the others raise the "+
		"version that all share, with which etcd %[1]s does not start. They are held to %[1]s until this node has "+
		"proved itself; a crash within seconds of the raise may need its member removed and added again.", was), nil
}

// lastAt is the minor version of this node's etcd, if all others run a newer one; empty: they do not. One that cannot
// be asked may be newer, so it counts as such, and unknown says so.
func (c *Cluster) lastAt(ctx context.Context, members []*etcdserverpb.Member) (was string, unknown error) {
	own, err := c.version(ctx, c.config.Self)
	if err != nil || len(members) < 2 {
		return "", err // what does not run has nothing to come back with
	}
	var errs []error
	for _, m := range members {
		if m.Name == c.config.Name || len(m.ClientURLs) == 0 {
			continue
		}
		v, err := c.version(ctx, m.ClientURLs[0])
		if err != nil {
			errs = append(errs, err)
		} else if !newer(v.Server, own.Server) {
			return "", nil
		}
	}
	return minor(own.Server), errors.Join(errs...)
}

// Hold notes the version that this node's member has to be able to come back with, if it is the last to leave it
// behind.
func (c *Cluster) Hold(ctx context.Context) error {
	members, err := c.members(ctx)
	if err != nil {
		return fmt.Errorf("ask etcd for its versions: %w", err)
	}
	was, _ := c.lastAt(ctx, members)
	key := versions + c.config.Name
	return c.tried(ctx, "note the version of etcd", func(ctx context.Context) error {
		if was == "" {
			_, err := c.client.Delete(ctx, key)
			return err
		}
		_, err := c.client.Put(ctx, key, was)
		return err
	})
}

// Held has the cluster keep to the version that Hold noted, in the trial that has raised it, or without this node's
// member, which has left and is to come back.
func (c *Cluster) Held(ctx context.Context) error {
	was, err := c.noted(ctx)
	if err != nil || was == "" {
		return err
	}
	url, own, err := c.whose(ctx)
	if err != nil {
		return err
	}
	if !newer(own.Server, was) {
		return nil // the trial brought no newer one
	}
	for end := time.Now().Add(raiseTime); !newer(own.Cluster, was); {
		if time.Now().After(end) {
			return nil // another member keeps it down
		}
		if own, err = c.after(ctx, url); err != nil {
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
		own, err = c.after(ctx, url)
	}
	if err != nil {
		return fmt.Errorf("the version before could not start again: %w", err)
	}
	return nil
}

// whose is the member whose version counts: this node's, or any other once that has left.
func (c *Cluster) whose(ctx context.Context) (url string, v told, err error) {
	members, err := c.members(ctx)
	if err != nil {
		return "", v, fmt.Errorf("ask etcd for its versions: %w", err)
	}
	urls := []string{c.config.Self}
	if _, err := c.self(members); errors.Is(err, quorum.ErrNoMember) {
		urls = nil
		for _, m := range members {
			urls = append(urls, m.ClientURLs...)
		}
	}
	err = errors.New("no member tells where it answers")
	for _, url := range urls {
		if v, err = c.version(ctx, url); err == nil {
			return url, v, nil
		}
	}
	return "", v, fmt.Errorf("ask etcd for its version: %w", err)
}

// after is a member's version after a pause.
func (c *Cluster) after(ctx context.Context, url string) (told, error) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return told{}, ctx.Err()
	}
	return c.version(ctx, url)
}

// LetGo lets the cluster raise its version, if it was held by this node's trial.
func (c *Cluster) LetGo(ctx context.Context) error {
	was, err := c.noted(ctx)
	if err != nil || was == "" {
		return err
	}
	if err := c.release(ctx); err != nil {
		return err
	}
	return c.tried(ctx, "forget the version of etcd that was held", func(ctx context.Context) error {
		_, err := c.client.Delete(ctx, versions+c.config.Name)
		return err
	})
}

// release lets the cluster raise its version again.
func (c *Cluster) release(ctx context.Context) error {
	return c.tried(ctx, "let etcd raise its version", func(ctx context.Context) error {
		_, err := c.client.Downgrade(ctx, clientv3.DowngradeCancel, "")
		if errors.Is(err, rpctypes.ErrNoInflightDowngrade) {
			return nil
		}
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
