#!/usr/bin/perl
# Runs programs in a vm for the test outside, over a virtio port: argv in; pid, output and ending out; many at once.
# A frame is u32 length of the rest, u8 type, u32 session, payload. From outside: R argv by NUL, I input, E end of input,
# S signal number to the program, K kill its process group. To the outside: P pid, O output, R errors, X how it ended.
# Both sides throw away what they read until the greeting of this very server: a reboot cuts frames in two.
use strict;
use warnings;
use Fcntl qw(O_RDWR F_GETFL F_SETFL O_NONBLOCK);
use POSIX qw(WNOHANG setpgid);

my $path = '/dev/virtio-ports/drover.bed';
sysopen(my $port, $path, O_RDWR) or die "$path: $!";
open(my $id, '<', '/proc/sys/kernel/random/boot_id') or die "boot_id: $!";
chomp(my $boot_id = <$id>);
my $self = sprintf('%s%012d', $boot_id, $$);
$SIG{CHLD} = sub { };
$SIG{PIPE} = 'IGNORE';

sub put {
  my ($bytes) = @_;
  my $at = 0;
  while ($at < length $bytes) {
    my $wrote = syswrite($port, $bytes, length($bytes) - $at, $at);
    if (defined $wrote) { $at += $wrote }
    elsif (!$!{EINTR} && !$!{EAGAIN}) { die "$path: $!" }
  }
}
sub frame { my ($type, $session, $payload) = @_; put(pack('NaN', 5 + length $payload, $type, $session) . $payload) }

my %sessions;

sub start {
  my ($number, @argv) = @_;
  pipe(my $in_read, my $in_write) or die "pipe: $!";
  pipe(my $out_read, my $out_write) or die "pipe: $!";
  pipe(my $err_read, my $err_write) or die "pipe: $!";
  my $pid = fork() // die "fork: $!";
  if ($pid == 0) {
    setpgid(0, 0);
    $SIG{CHLD} = 'DEFAULT';
    $SIG{PIPE} = 'DEFAULT';
    POSIX::dup2(fileno($in_read), 0);
    POSIX::dup2(fileno($out_write), 1);
    POSIX::dup2(fileno($err_write), 2);
    POSIX::close($_) for 3 .. 255;
    %ENV = (PATH => '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME => '/root', LANG => 'C.UTF-8');
    chdir '/';
    no warnings 'exec';
    exec { $argv[0] } @argv;
    my $code = $!{ENOENT} ? 127 : 126;
    syswrite(STDERR, "$argv[0]: $!\n");
    POSIX::_exit($code);
  }
  setpgid($pid, $pid);
  close $_ for $in_read, $out_write, $err_write;
  fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) for $in_write, $out_read, $err_read;
  $sessions{$number} = { pid => $pid, in => $in_write, pending => '', ends => 0, out => { O => $out_read, R => $err_read } };
  frame('P', $number, $pid);
}

# Sends on what a program wrote; closes what has ended.
sub drain {
  my ($number, $type) = @_;
  my $session = $sessions{$number};
  my $handle = $session->{out}{$type} // return;
  for (1 .. 16) {
    my $got = sysread($handle, my $bytes, 65536);
    if (defined $got && $got == 0) { close $handle; delete $session->{out}{$type}; return }
    return if !defined $got;
    frame($type, $number, $bytes);
  }
}

sub feed {
  my ($session) = @_;
  return if !$session->{in};
  if (length $session->{pending}) {
    my $wrote = syswrite($session->{in}, $session->{pending});
    if (defined $wrote) { substr($session->{pending}, 0, $wrote, '') }
    elsif (!$!{EAGAIN} && !$!{EINTR}) { $session->{pending} = ''; $session->{ends} = 1 }
  }
  if ($session->{ends} && !length $session->{pending}) { close $session->{in}; delete $session->{in} }
}

sub obey {
  my ($type, $number, $payload) = @_;
  if ($type eq 'R') { start($number, split /\0/, $payload, -1); return }
  my $session = $sessions{$number} // return;
  if ($type eq 'I') { $session->{pending} .= $payload; feed($session) }
  elsif ($type eq 'E') { $session->{ends} = 1; feed($session) }
  elsif ($type eq 'S') { kill $payload, $session->{pid} }
  elsif ($type eq 'K') { kill 9, -$session->{pid} }
}

sub reap {
  while ((my $pid = waitpid(-1, WNOHANG)) > 0) {
    my $status = $?;
    my ($number) = grep { $sessions{$_}{pid} == $pid } keys %sessions;
    next if !defined $number;
    # What a grandchild may still write is not waited for.
    drain($number, $_) for 'O', 'R';
    frame('X', $number, $status & 127 ? 'signal ' . ($status & 127) : 'exit ' . ($status >> 8));
    delete $sessions{$number};
  }
}

# As many zeros as the longest frame has bytes: whatever the last server left unfinished ends in them.
put("\0" x 65545 . "\xff\xffdrover-bed-hello$self");
my $greeting = "drover-bed-ready$self";
my $greeted = 0;
my $input = '';
for (;;) {
  my ($read, $write) = ('', '');
  vec($read, fileno $port, 1) = 1;
  for my $session (values %sessions) {
    vec($read, fileno $_, 1) = 1 for values %{ $session->{out} };
    vec($write, fileno $session->{in}, 1) = 1 if $session->{in} && length $session->{pending};
  }
  my $ready = select($read, $write, undef, %sessions ? 0.2 : undef);
  if ($ready > 0) {
    for my $number (keys %sessions) {
      my $session = $sessions{$number};
      for my $type (keys %{ $session->{out} }) { drain($number, $type) if vec($read, fileno $session->{out}{$type}, 1) }
      feed($session) if $session->{in} && vec($write, fileno $session->{in}, 1);
    }
    if (vec($read, fileno $port, 1)) {
      my $got = sysread($port, $input, 262144, length $input);
      # Nobody outside: the port reads as ended until somebody comes.
      select(undef, undef, undef, 0.1) if defined $got && $got == 0;
    }
  }
  if (!$greeted) {
    my $at = index($input, $greeting);
    if ($at >= 0) { $greeted = 1; $input = substr($input, $at + length $greeting) }
    elsif (length $input > length $greeting) { $input = substr($input, -length $greeting) }
  }
  while ($greeted && length $input >= 9) {
    my ($length, $type, $number) = unpack('NaN', $input);
    last if length $input < 4 + $length;
    my $payload = substr($input, 9, $length - 5);
    substr($input, 0, 4 + $length, '');
    obey($type, $number, $payload);
  }
  reap();
}
