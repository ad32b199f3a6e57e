#requires -Version 5.1
# Builds the image `client-predict`. Extra arguments go to `docker build`, e.g. --no-cache or --build-arg NODE_IMAGE=...
$ErrorActionPreference = 'Stop'

function Stop-With([string] $Message) {
    Write-Host $Message -ForegroundColor Red
    exit 1
}

if (-not (Get-Command docker -ErrorAction SilentlyContinue)) {
    Stop-With 'Docker is not installed, or not on the PATH. Install Docker Desktop (Windows, macOS) or Docker Engine (Linux), then open a new terminal.'
}

# PowerShell takes a,b for a list of two; docker wants it whole (--platform linux/amd64,linux/arm64).
$more = @($args | ForEach-Object { $_ -join ',' })

# What docker writes to its error stream (5.1) and its exit code (7.4) would be exceptions while this is 'Stop'.
$ErrorActionPreference = 'Continue'
docker build --tag client-predict @more "$PSScriptRoot"
if ($LASTEXITCODE -ne 0) {
    Stop-With 'The build failed, see above. If it says that it cannot connect, start Docker first.'
}
Write-Host 'Built client-predict. Next: copy .env.example to .env, fill it in, and run .\run_client_predict.ps1'
