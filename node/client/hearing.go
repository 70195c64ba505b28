package client

import (
	"net/http"
)

// NodeVersion is the version of the service on the node, as its latest answer said it; empty if none did.
func (c *Client) NodeVersion() string {
	version, _ := c.version.Load().(string)
	return version
}

// hearing is a transport that hears of what version the service is that answers.
type hearing struct {
	http.RoundTripper
	client *Client
}

func (h hearing) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := h.RoundTripper.RoundTrip(r)
	if err == nil {
		if version := answer.Header.Get("Pawl-Version"); version != "" && len(version) <= maxVersion {
			h.client.version.Store(version)
		}
	}
	return answer, err
}

// maxVersion bounds a version, in bytes.
const maxVersion = 128
