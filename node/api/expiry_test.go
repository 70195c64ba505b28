package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pawl-os/pawl/node"
	"github.com/pawl-os/pawl/node/pawlv1"
	"github.com/pawl-os/pawl/upgrade/doctor"
)

// The node's certificate is valid for 90 days, its authority for a year.
func TestCertificatesThatEndAreWarnedOfThirtyDaysBefore(t *testing.T) {
	const day = 24 * time.Hour
	s := secure(t, "")
	s.stub.status = func() (node.Status, error) { return node.Status{}, nil }
	s.stub.doctor = func() (doctor.Diagnosis, error) { return doctor.Diagnosis{}, nil }
	begun := s.now()
	h := s.client(s.pair(s.ca, "pawl:reader", 360*day))
	ask := func() (warnings []string, severity string, findings []string) {
		c := pawlv1.NewNodeClient(h, s.url())
		st, err := c.Status(t.Context(), &pawlv1.StatusRequest{})
		require.NoError(t, err)
		d, err := c.Doctor(t.Context(), &pawlv1.DoctorRequest{})
		require.NoError(t, err)
		for _, f := range d.Findings {
			require.Equal(t, "certificates", f.About)
			findings = append(findings, f.Text)
		}
		return st.Warnings, d.Severity, findings
	}
	warnings, severity, _ := ask()
	require.Empty(t, warnings)
	require.Equal(t, "fine", severity)
	s.clock(begun.Add(61 * day))
	warnings, severity, findings := ask()
	require.Len(t, warnings, 1)
	require.Equal(t, warnings, findings)
	require.Equal(t, "degraded", severity)
	until := begun.Add(90 * day).UTC().Format(time.RFC3339)
	require.Equal(t, `The certificate "CN=127.0.0.1" (of this node in `+s.dir+`/node.crt) is valid until `+until+
		" only: renew it.", warnings[0])
	s.node(s.ca, "127.0.0.1") // it is renewed
	warnings, _, _ = ask()
	require.Empty(t, warnings)
	s.write("node.key", []byte("half a"))
	warnings, _, _ = ask()
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "The new certificates are not used, the old ones are: ")
	s.node(s.ca, "127.0.0.1")
	s.clock(begun.Add(340 * day))
	s.node(s.ca, "127.0.0.1")
	warnings, _, _ = ask()
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], `"CN=test" (of an authority of clients in `)
	s.write("ca.crt", append(authority(t, s.now()).CertPEM(), s.ca.CertPEM()...))
	warnings, _, _ = ask()
	require.Len(t, warnings, 1, "the old one alone")
}
