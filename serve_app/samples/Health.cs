// Ask whether the model and every tier are ready: dotnet run
var url = Environment.GetEnvironmentVariable("FACE_API_URL") ?? "http://127.0.0.1:8000";
using var client = new HttpClient();
using var response = await client.GetAsync($"{url}/health");
Console.WriteLine(await response.Content.ReadAsStringAsync());
return response.IsSuccessStatusCode ? 0 : 1;
